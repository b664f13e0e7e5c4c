// Package directhttp has the HTTP client for the pages of agents.
package directhttp

import "net/http"

// NewClient returns a client that connects to the nodes themselves: it uses no proxy of the
// environment, follows no redirect, and keeps no connection.
func NewClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
