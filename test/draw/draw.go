// Package draw has what the programs that draw events at random share.
package draw

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

// Weighted draws one of a list, more often the larger its weight. No weight is negative, and one at
// least is positive.
func Weighted[T any](random *rand.Rand, list []T, weight func(T) int) T {
	total := 0
	for _, one := range list {
		total += weight(one)
	}
	at := random.IntN(total)
	for _, one := range list {
		if at -= weight(one); at < 0 {
			return one
		}
	}
	return list[0] // not reached: the weights add up to total
}

// Seed returns the seed in SEED, or a random one if that is empty.
func Seed(getenv func(string) string) (uint64, error) {
	text := getenv("SEED")
	if text == "" {
		return rand.Uint64(), nil
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read SEED: %q is not a whole number", text)
	}
	return seed, nil
}
