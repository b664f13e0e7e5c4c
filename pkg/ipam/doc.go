// Package ipam decides which addresses each Service gets: from which pool, whether Services may
// share an address, and why a request is refused. It is pure: the same ledger, pools, reservations
// and requests give the same result.
//
// It does not store the ledger, read Services or write their status.
package ipam
