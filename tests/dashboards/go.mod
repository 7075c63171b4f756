// Grafana's own types of dashboards, held against the committed ones: see test_dashboards.py.
module rollout-analyzer/tests/dashboards

go 1.24.9

require github.com/grafana/grafana-foundation-sdk/go v0.0.18
