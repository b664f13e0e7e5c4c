// Package show is what the demonstrations have in common: a screen with a live line below, and
// words for who had the address and what a client got. It breaks nothing and judges nothing.
package show
