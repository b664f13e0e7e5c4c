// Package fakeapi is a small API server for tests: TLS, bearer tokens and client
// certificates, Leases with resourceVersions and watches, and the EndpointSlice
// default/kubernetes; Events are taken and forgotten. Several Servers over one Store are
// the API servers of one cluster. It can be silent, mute or unwilling, which a real one
// cannot be told to be; it has no admission, no authorization and no other resources.
package fakeapi
