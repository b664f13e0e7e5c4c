//go:build race

package election

// raceDetector is true in tests with the race detector, which makes a simulation ten times slower.
const raceDetector = true
