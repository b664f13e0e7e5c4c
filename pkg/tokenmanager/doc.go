// Package tokenmanager gives an agent a token with few permissions. With bootstrap credentials, an
// administrator's, it applies kvip's RBAC and requests a token of kvip's ServiceAccount. It stores
// the token in a directory, renews it with the token's own permission, and issues a new one when
// API servers reject it. It does not delay the election: the agent uses whichever credentials work.
package tokenmanager
