package testutil

// Must returns v. It panics on an error, which ends the test.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
