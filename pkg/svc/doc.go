// Package svc reads the objects that kvip's Services need (Services, EndpointSlices, Nodes, Leases,
// pools) from the API, decodes them into plain values and keeps a cache of these up to date. It
// does not allocate addresses (package allocator) and does not announce them (package speaker).
package svc
