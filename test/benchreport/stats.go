package benchreport

// Percentile is the nearest rank: the smallest value that at least p percent of the values do
// not exceed. Values are sorted and not empty; p is from 1 to 100.
func Percentile[T any](sorted []T, p int) T {
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}
