// Argo Rollouts' own code in a program that pytest drives: what passes here passes in the cluster.
//
//	argo validate FILE...        strict decoding and Argo's validation of manifests
//	argo measure TEMPLATE        every metric of a template once, through the web provider
//	argo run TEMPLATE [LOOKS]    a whole AnalysisRun through the analysis controller, on a clock of its own;
//	                             ended from outside after that many looks
//
// measure and run read the arguments of the template from standard input, as a JSON object of strings.
// The answer is JSON on standard output; a status other than 0 means that no answer could be formed.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/sirupsen/logrus"
	"k8s.io/klog/v2"
)

func main() {
	logrus.SetOutput(io.Discard) // the answer is on standard output; Argo's running commentary is not wanted
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)
	answer, err := dispatch(os.Args[1:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(answer)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func dispatch(words []string) (any, error) {
	if len(words) < 2 {
		return nil, fmt.Errorf("usage: argo validate FILE... | measure TEMPLATE | run TEMPLATE [LOOKS]")
	}
	if words[0] == "validate" {
		return validate(words[1:])
	}
	var given map[string]string
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		return nil, fmt.Errorf("the arguments on standard input: %w", err)
	}
	run, err := newRun(words[1], given)
	if err != nil {
		return nil, err
	}
	switch words[0] {
	case "measure":
		return measure(run)
	case "run":
		looks := 0
		if len(words) > 2 {
			if looks, err = strconv.Atoi(words[2]); err != nil {
				return nil, err
			}
		}
		return finish(run, looks)
	}
	return nil, fmt.Errorf("unknown command %q", words[0])
}
