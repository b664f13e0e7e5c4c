// Package check looks into the images that `make image` made: what is in them, what they say about
// themselves, and whether they run. It does not test the tool that writes them.
package check
