// Package screen is the output of the demonstrations: lines with a live line below, and texts for
// owners of the VIP and answers to a client. It changes and judges nothing.
package screen
