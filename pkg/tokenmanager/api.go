package tokenmanager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kvip/kvip/pkg/apiclient"
)

// fieldManager owns what kvip applies (Kubernetes documentation, "Server-Side Apply").
const fieldManager = "kvip"

// errDenied says that an API server which knows what it says refuses the token, or a right.
var errDenied = errors.New("denied")

// errUnsure says that an API server refuses the token and does not tell whether it is ready.
var errUnsure = errors.New("it does not tell whether it is ready")

// unheard is whether nobody listens at the address, so that another may be tried.
func unheard(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// apply makes the objects what they should be. It is the same whoever does it and how often: an
// object that is right already is not written.
func apply(ctx context.Context, server *apiclient.Server, objects []object) error {
	for _, o := range objects {
		err := server.REST().Patch(types.ApplyPatchType).AbsPath(o.path).
			Param("fieldManager", fieldManager).Param("force", "true").Body(o.body).Do(ctx).Error()
		if err != nil {
			return fmt.Errorf("apply %s: %w", o.path, err)
		}
	}
	return nil
}

// request gets a token for the ServiceAccount (TokenRequest, authentication.k8s.io/v1).
func request(ctx context.Context, server *apiclient.Server, namespace, name string) (token, error) {
	seconds := int64(asked / time.Second)
	sent := time.Now()
	answer, err := server.Core.ServiceAccounts(namespace).CreateToken(ctx, name,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	if err != nil {
		return token{}, fmt.Errorf("request a token for ServiceAccount %s/%s: %w", namespace, name, err)
	}
	t, err := parseToken(answer.Status.Token)
	if err != nil { // then only the answer tells how long it lasts
		t = token{text: answer.Status.Token}
	}
	t.issued = sent.Round(0) // by the clock that judges its age; the API server's may be another
	if t.expires.IsZero() {
		t.expires = answer.Status.ExpirationTimestamp.Time
	}
	return t, nil
}

// granted asks whether the server's credentials have all rights. The error is errDenied if they
// have not, or if they are nobody's; an API server that is not ready proves nothing, and is asked
// again once it is.
func granted(ctx context.Context, creds apiclient.Credentials, server *apiclient.Server, rights []authorizationv1.SelfSubjectAccessReviewSpec) error {
	err := reviewAll(ctx, server, rights)
	if !errors.Is(err, errDenied) {
		return err
	}
	sure, err := ready(ctx, creds, server.Host)
	if err != nil {
		return err
	}
	err = reviewAll(ctx, server, rights)
	if errors.Is(err, errDenied) && !sure {
		return fmt.Errorf("%w: %w", errUnsure, err)
	}
	return err
}

// reviewAll returns errDenied for the first right that is missing, and if it may not even ask, as
// everybody may who has a valid token (system:basic-user).
func reviewAll(ctx context.Context, server *apiclient.Server, rights []authorizationv1.SelfSubjectAccessReviewSpec) error {
	for _, right := range rights {
		allowed, err := review(ctx, server, right)
		switch {
		case apiclient.IsDenied(err):
			return fmt.Errorf("%w: %w", errDenied, err)
		case err != nil:
			return err
		case !allowed:
			return fmt.Errorf("%w: it may not %s", errDenied, describe(right))
		}
	}
	return nil
}

// ready asks as nobody whether the API server is ready: one that starts refuses everybody, with
// valid credentials too. Where nobody may ask, it is not sure.
func ready(ctx context.Context, creds apiclient.Credentials, host string) (sure bool, err error) {
	nobody, err := creds.Anonymous().Server(host)
	if err != nil {
		return false, err
	}
	defer nobody.Close()
	err = nobody.REST().Get().AbsPath("/readyz").Do(ctx).Error()
	if apiclient.IsDenied(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask API server %s whether it is ready: %w", host, err)
	}
	return true, nil
}

// review asks about one right (SelfSubjectAccessReview, authorization.k8s.io/v1), which writes nothing.
func review(ctx context.Context, server *apiclient.Server, right authorizationv1.SelfSubjectAccessReviewSpec) (allowed bool, err error) {
	question := authorizationv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview"}, Spec: right,
	}
	body, err := json.Marshal(question)
	if err != nil {
		return false, fmt.Errorf("encode question about %s: %w", describe(right), err)
	}
	answer, err := server.REST().Post().AbsPath("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").
		SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Raw()
	if err != nil {
		return false, fmt.Errorf("ask whether it may %s: %w", describe(right), err)
	}
	if err := json.Unmarshal(answer, &question); err != nil {
		return false, fmt.Errorf("read answer about %s: %w", describe(right), err)
	}
	return question.Status.Allowed, nil
}
