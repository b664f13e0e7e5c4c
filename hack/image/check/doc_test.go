// Package check tests the images that `make image` built: their content, their labels, and that
// they run. It does not test the program that writes them.
package check
