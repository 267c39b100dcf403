package harbour.cranes;

import java.util.ArrayList;
import java.util.List;

public final class Crane {
    private final String name;
    private final List<Integer> loads = new ArrayList<>();

    public Crane(String name) {
        this.name = name;
    }

    public void lift(int kilograms) {
        if (kilograms <= 0) {
            throw new IllegalArgumentException("nothing to lift: " + kilograms);
        }
        loads.add(kilograms);
    }

    public int total() {
        return loads.stream().mapToInt(Integer::intValue).sum();
    }

    @Override
    public String toString() {
        return name + " lifted " + total() + " kg";
    }
}
