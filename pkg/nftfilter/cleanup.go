package nftfilter

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Installed says whether a kvip's table is in this network namespace. A kernel without
// nftables has none.
func Installed() (bool, error) {
	conn, err := open()
	if err != nil {
		return false, err
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if lacksNftables(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("list nftables tables: %w", explain(err))
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == Table }), nil
}

// Cleanup deletes a table that a killed kvip left in this network namespace, of whatever
// version. That there is none is no error; a kvip that runs puts it back at its next Apply.
func Cleanup() error {
	there, err := Installed()
	if err != nil || !there {
		return err
	}
	err = transact(func(b *batch) { b.remove() })
	if err != nil {
		return fmt.Errorf("delete nftables table %s: %w", Table, err)
	}
	return nil
}

// lacksNftables recognises a kernel without netfilter's netlink (no such protocol), and one
// where that has no part for nftables, which it calls an invalid request (nfnetlink.c).
func lacksNftables(err error) bool {
	return errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL)
}
