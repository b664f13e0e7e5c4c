// Package allocator gives addresses to Services: of all agents one has the seat, and it alone writes the
// ledger, then the Services' status, Events and the pools' status. Which address a Service gets is
// decided by ipam; who announces it is not this package's job.
package allocator
