#include <stdio.h>
#include <stdlib.h>

#define MAX_LOAD 1200 /* kilograms */

typedef struct {
    int load;
    double speed;
} winch_t;

static int hoist(winch_t *winch, int load)
{
    if (load > MAX_LOAD) {
        fprintf(stderr, "refused: %d kg\n", load);
        return -1;
    }
    winch->load = load;
    winch->speed = 0.8 - (double)load / MAX_LOAD * 0.5;
    return 0;
}

int main(int argc, char **argv)
{
    winch_t winch = {0, 0.0};
    int load = argc > 1 ? atoi(argv[1]) : 300;
    return hoist(&winch, load) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
