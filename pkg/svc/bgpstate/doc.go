// Package bgpstate reports the BGP sessions of a node to the Kubernetes API: a Publisher writes the
// node's BGPNodeState, and an EventRecorder creates Events on the Node when sessions begin and end.
// Neither holds up a session: both lag behind or leave out if the API does not answer.
package bgpstate
