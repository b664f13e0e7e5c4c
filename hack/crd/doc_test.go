// Package crd tests the files that are generated from the types in pkg/apis: the committed files
// are those of the generator, and an API server accepts the CRDs and rejects invalid objects. It is
// a separate module, so that the API server's code is not a dependency of kvip.
package crd
