// Package crd tests what is generated from the types in pkg/apis: that what is committed is what
// the generator makes, and that an API server takes it and refuses what it should. It is a module
// of its own, for an API server's code is no part of kvip.
package crd
