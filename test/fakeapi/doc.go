// Package fakeapi is a small API server for tests: TLS, bearer tokens and client
// certificates, and the kinds of objects that kvip reads, with resourceVersions, watches and
// server-side apply of statuses; Events are taken and forgotten. Several Servers over one Store are
// the API servers of one cluster. It can be silent, mute, blind or unwilling, which a real one
// cannot be told to be; it has no admission, no authorization and no other resources.
package fakeapi
