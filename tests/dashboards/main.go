// Reads dashboards as Grafana's own types do: no unknown field, no wrong type, no value outside of its list.
//
//	check FILE...
//
// The answer is a JSON object on standard output: the errors of each file.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins() // the options of each kind of panel, and the queries of each kind of source
	found := map[string][]string{}
	for _, file := range os.Args[1:] {
		text, err := os.ReadFile(file)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		found[file] = check(text)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func check(text []byte) []string {
	var read dashboard.Dashboard
	return append(messages(read.UnmarshalJSONStrict(text)), messages(read.Validate())...)
}

// messages lists what is wrong: the strict decoder returns an empty list, and no nil, where nothing is.
func messages(err error) []string {
	list := []string{}
	var many cog.BuildErrors
	switch {
	case errors.As(err, &many):
		for _, one := range many {
			list = append(list, one.Error())
		}
	case err != nil:
		list = append(list, err.Error())
	}
	return list
}
