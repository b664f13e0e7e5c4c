// Package ipam decides which address each Service gets: from which pool, whether two Services may
// share one, and what a request that cannot be granted is told. It is pure: the same ledger, pools,
// reservations and requests give the same result.
//
// Keeping the ledger in the cluster (version-checked writes, who may write), reading Services and
// writing their status are not its job.
package ipam
