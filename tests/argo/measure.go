package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/argoproj/argo-rollouts/metricproviders/job"
	"github.com/argoproj/argo-rollouts/metricproviders/webmetric"
	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/utils/analysis"
)

// measurement is what Argo would write down of one measurement.
type measurement struct {
	Metric  string `json:"metric"`
	Phase   string `json:"phase"`
	Value   string `json:"value"`
	Message string `json:"message"`
}

// newRun makes the AnalysisRun that a Rollout with these arguments would create of the template in file.
func newRun(file string, given map[string]string) (*v1alpha1.AnalysisRun, error) {
	objects, err := readObjects(file)
	if err != nil {
		return nil, err
	}
	if len(objects) != 1 || len(objects[0].Errors) > 0 {
		return nil, fmt.Errorf("%s: not one valid template: %v", file, objects)
	}
	var templates []*v1alpha1.AnalysisTemplate
	var clusterTemplates []*v1alpha1.ClusterAnalysisTemplate
	switch template := objects[0].value.(type) {
	case *v1alpha1.AnalysisTemplate:
		templates = append(templates, template)
	case *v1alpha1.ClusterAnalysisTemplate:
		clusterTemplates = append(clusterTemplates, template)
	}
	arguments := make([]v1alpha1.Argument, 0, len(given))
	for name, value := range given {
		arguments = append(arguments, v1alpha1.Argument{Name: name, Value: &value})
	}
	return analysis.NewAnalysisRunFromTemplates(
		templates, clusterTemplates, arguments, nil, nil, nil, nil, "run", "", "default")
}

// measure takes one measurement of every metric, as the controller does at its first look.
func measure(run *v1alpha1.AnalysisRun) ([]measurement, error) {
	var taken []measurement
	for _, metric := range run.Spec.Metrics {
		resolved, err := analysis.ResolveMetricArgs(metric, run.Spec.Args)
		if err != nil {
			// The controller ends the whole run with this phase and message.
			message := fmt.Sprintf("Unable to resolve metric arguments: %v", err)
			taken = append(taken, measurement{metric.Name, string(v1alpha1.AnalysisPhaseError), "", message})
			continue
		}
		if err := analysis.ValidateMetrics([]v1alpha1.Metric{*resolved}); err != nil {
			return nil, err
		}
		if resolved.Provider.Job != nil {
			created, err := createJob(run, *resolved)
			if err != nil {
				return nil, err
			}
			taken = append(taken, *created)
			continue
		}
		client, err := webmetric.NewWebMetricHttpClient(*resolved)
		if err != nil {
			return nil, err
		}
		parser, err := webmetric.NewWebMetricJsonParser(*resolved)
		if err != nil {
			return nil, err
		}
		provider := webmetric.NewWebMetricProvider(*logrus.NewEntry(logrus.StandardLogger()), client, parser)
		result := provider.Run(run, *resolved)
		taken = append(taken, measurement{resolved.Name, string(result.Phase), result.Value, result.Message})
	}
	return taken, nil
}

// createJob lets Argo create the job of a metric; the value is the job's specification.
func createJob(run *v1alpha1.AnalysisRun, metric v1alpha1.Metric) (*measurement, error) {
	client := fake.NewSimpleClientset()
	logger := logrus.NewEntry(logrus.StandardLogger())
	result := job.NewJobProvider(*logger, client, nil, "", false).Run(run, metric)
	jobs, err := client.BatchV1().Jobs(run.Namespace).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	if len(jobs.Items) != 1 {
		return nil, fmt.Errorf("%d jobs were created: %s", len(jobs.Items), result.Message)
	}
	specification, err := json.Marshal(jobs.Items[0].Spec)
	if err != nil {
		return nil, err
	}
	return &measurement{metric.Name, string(result.Phase), string(specification), result.Message}, nil
}
