package tokenmanager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
)

var (
	// errDenied means that an API server rejects the token, or that a permission is missing.
	errDenied = errors.New("denied")
	// errInconclusive is errDenied of an API server that may not be ready.
	errInconclusive = errors.New("the readiness of the API server is unknown")
)

// permission is one question to an API server.
type permission = authorizationv1.SelfSubjectAccessReviewSpec

// request gets a token for the ServiceAccount (TokenRequest, authentication.k8s.io/v1).
func request(ctx context.Context, s *apiclient.Server, namespace, name string) (token, error) {
	seconds := int64(requestedLifetime / time.Second)
	sent := time.Now()
	answer, err := s.Core.ServiceAccounts(namespace).CreateToken(ctx, name,
		&authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds},
		}, metav1.CreateOptions{})
	if err != nil {
		return token{}, fmt.Errorf("request a token for ServiceAccount %s/%s: %w",
			namespace, name, err)
	}
	t, err := parseToken(answer.Status.Token)
	if err != nil { // then only the answer has its lifetime
		t = token{text: answer.Status.Token}
	}
	t.issued = sent.Round(0) // by this node's clock, which also measures its age
	if t.expires.IsZero() {
		t.expires = answer.Status.ExpirationTimestamp.Time
	}
	return t, nil
}

// checkPermissions returns errDenied if creds lack a permission or are rejected. A server that
// starts denies every request, so a denial counts only if the server is ready: it is asked again
// then. errInconclusive is added if the server does not report its readiness to anonymous users.
func checkPermissions(
	ctx context.Context, creds apiclient.Credentials, s *apiclient.Server, all []permission,
) error {
	err := reviewAll(ctx, s, all)
	if !errors.Is(err, errDenied) {
		return err
	}
	sure, err := ready(ctx, creds, s.Host)
	if err != nil {
		return err
	}
	err = reviewAll(ctx, s, all)
	if errors.Is(err, errDenied) && !sure {
		return fmt.Errorf("%w: %w", errInconclusive, err)
	}
	return err
}

// reviewAll returns errDenied for the first missing permission, and if the review itself is denied:
// every authenticated user may ask (system:basic-user).
func reviewAll(ctx context.Context, s *apiclient.Server, all []permission) error {
	for _, p := range all {
		allowed, err := review(ctx, s, p)
		switch {
		case apiclient.IsDenied(err):
			return fmt.Errorf("%w: %w", errDenied, err)
		case err != nil:
			return err
		case !allowed:
			return fmt.Errorf("%w: it may not %s", errDenied, describe(p))
		}
	}
	return nil
}

// ready asks anonymously whether an API server is ready. It reports false without an error if
// anonymous requests are denied.
func ready(ctx context.Context, creds apiclient.Credentials, host string) (sure bool, err error) {
	s, err := creds.Anonymous().Server(host)
	if err != nil {
		return false, err
	}
	defer s.Close()
	err = s.REST().Get().AbsPath("/readyz").Do(ctx).Error()
	if apiclient.IsDenied(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask API server %s whether it is ready: %w", host, err)
	}
	return true, nil
}

// review asks for one permission (SelfSubjectAccessReview, authorization.k8s.io/v1).
func review(ctx context.Context, s *apiclient.Server, p permission) (allowed bool, err error) {
	object := authorizationv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{
			APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview",
		},
		Spec: p,
	}
	body, err := json.Marshal(object)
	if err != nil {
		return false, fmt.Errorf("encode review of %s: %w", describe(p), err)
	}
	answer, err := s.REST().Post().
		AbsPath("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").
		SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Raw()
	if err != nil {
		return false, fmt.Errorf("ask whether it may %s: %w", describe(p), err)
	}
	if err := json.Unmarshal(answer, &object); err != nil {
		return false, fmt.Errorf("read review of %s: %w", describe(p), err)
	}
	return object.Status.Allowed, nil
}
