// Package bgp tests kvip on real API servers whose addresses are announced by BGP to FRR and BIRD.
package bgp
