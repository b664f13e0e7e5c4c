// Package apiclient reaches API servers by address: it reads credentials, keeps one
// connection of its own per server, and re-reads files that change. It never uses the
// address in a kubeconfig, a name server or the virtual address (E11), and it does not
// know what is said over the connections.
package apiclient
