package main

import (
	"fmt"
	"sync"
)

type Ferry struct {
	Name  string
	Seats int
	mu    sync.Mutex
}

func (f *Ferry) Board(passengers int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if passengers > f.Seats {
		return fmt.Errorf("%s: only %d seats left", f.Name, f.Seats)
	}
	f.Seats -= passengers
	return nil
}

func main() {
	ferry := &Ferry{Name: "Blue Marlin", Seats: 120}
	if err := ferry.Board(130); err != nil {
		fmt.Println(err)
	}
}
