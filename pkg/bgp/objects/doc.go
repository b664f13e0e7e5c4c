// Package objects converts the objects of BGP, BGPPeer, BFDProfile and BGPAdvertisement, to what a
// Speaker and the policy take. They come from the API or from a file; the rules that an API server
// checks are checked again for those from a file. It reads nothing itself.
package objects
