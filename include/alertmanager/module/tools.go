//go:build tools

// Package tools names the programs that this module builds, so that go.mod and go.sum pin all they are made of.
package tools

import (
	_ "github.com/prometheus/alertmanager/cmd/alertmanager"
	_ "github.com/prometheus/alertmanager/cmd/amtool"
)
