// Package tokenmanager sees to it that kvip has no more rights than it needs: with bootstrap
// credentials, an administrator's, it applies kvip's RBAC and gets a token of kvip's
// ServiceAccount, keeps that in a directory of kvip's own, renews it with the token's own
// right, and begins anew when API servers do not accept it any more. It never stands in
// the way of the election: whichever credentials work are used meanwhile, and it asks for
// nothing that the election asks for.
package tokenmanager
