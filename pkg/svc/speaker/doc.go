// Package speaker is the Services part of one node: it says that the node is alive, decides with place
// which addresses of the ledger are this node's, and makes kernel, packet filter and announcements
// agree. Which Service has which address is not its job.
package speaker
