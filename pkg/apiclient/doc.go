// Package apiclient connects to API servers by address. It reads credentials, re-reads files that
// change, keeps one connection per server and pool, and chooses the server for each request. What a
// request does is not its job. The agent never uses the address in a kubeconfig, DNS or the VIP
// (E11). The status commands try the servers of kubeconfigs last.
package apiclient
