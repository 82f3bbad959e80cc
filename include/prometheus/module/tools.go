//go:build tools

// Package tools names the programs that this module builds, so that go.mod and go.sum pin all they are made of.
package tools

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
