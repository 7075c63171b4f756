package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/validation"
	"github.com/argoproj/argo-rollouts/utils/analysis"
)

// object is what is reported of one YAML document.
type object struct {
	File      string   `json:"file"`
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Errors    []string `json:"errors"`

	value runtime.Object
}

// strictDecoder knows the kinds of Kubernetes, Argo Rollouts and the Prometheus operator, and refuses
// fields that these do not have: an API server would drop them, most often silently.
func strictDecoder() (runtime.Decoder, error) {
	kinds := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		scheme.AddToScheme, v1alpha1.AddToScheme, monitoring.AddToScheme,
	} {
		if err := add(kinds); err != nil {
			return nil, err
		}
	}
	return json.NewSerializerWithOptions(
		json.DefaultMetaFactory, kinds, kinds, json.SerializerOptions{Yaml: true, Strict: true}), nil
}

func readObjects(file string) ([]*object, error) {
	decoder, err := strictDecoder()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var objects []*object
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(bytes.TrimSpace(document)) == 0 {
			continue
		}
		objects = append(objects, decode(decoder, file, document))
	}
}

func decode(decoder runtime.Decoder, file string, document []byte) *object {
	result := &object{File: file, Errors: []string{}}
	value, kind, err := decoder.Decode(document, nil, nil)
	if kind != nil {
		result.Kind = kind.Kind
	}
	if err != nil {
		result.Errors = append(result.Errors, err.Error())
	}
	if named, ok := value.(metav1.Object); ok {
		result.Namespace, result.Name, result.value = named.GetNamespace(), named.GetName(), value
	}
	return result
}

// validate decodes all files and runs Argo's validation over what belongs together in them.
func validate(files []string) ([]*object, error) {
	var objects []*object
	for _, file := range files {
		found, err := readObjects(file)
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	for _, object := range objects {
		object.Errors = append(object.Errors, argoErrors(object.value, objects)...)
	}
	return objects, nil
}

func argoErrors(value runtime.Object, among []*object) []string {
	switch value := value.(type) {
	case *v1alpha1.AnalysisTemplate:
		return templateErrors(value.Spec)
	case *v1alpha1.ClusterAnalysisTemplate:
		return templateErrors(value.Spec)
	case *v1alpha1.Rollout:
		return rolloutErrors(value, among)
	}
	return nil
}

func templateErrors(spec v1alpha1.AnalysisTemplateSpec) []string {
	arguments := make([]v1alpha1.Argument, 0, len(spec.Args))
	for _, argument := range spec.Args {
		if argument.Value == nil {
			placeholder := "placeholder"
			argument.Value = &placeholder
		}
		arguments = append(arguments, argument)
	}
	metrics := make([]v1alpha1.Metric, 0, len(spec.Metrics))
	for _, metric := range spec.Metrics {
		resolved, err := analysis.ResolveMetricArgs(metric, arguments)
		if err != nil {
			return []string{err.Error()}
		}
		metrics = append(metrics, *resolved)
	}
	if err := analysis.ValidateMetrics(metrics); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// rolloutErrors validates a Rollout together with the Services and templates that it names.
func rolloutErrors(rollout *v1alpha1.Rollout, among []*object) []string {
	var messages []string
	references := validation.ReferencedResources{}
	for kind, name := range map[validation.ServiceType]string{
		validation.StableService: rollout.Spec.Strategy.Canary.StableService,
		validation.CanaryService: rollout.Spec.Strategy.Canary.CanaryService,
	} {
		service := find[*corev1.Service](among, name)
		if service == nil {
			messages = append(messages, fmt.Sprintf("no Service %q among the manifests", name))
			continue
		}
		references.ServiceWithType = append(
			references.ServiceWithType, validation.ServiceWithType{Service: service, Type: kind})
	}
	for index, step := range rollout.Spec.Strategy.Canary.Steps {
		if step.Analysis == nil {
			continue
		}
		templates, missing := stepTemplates(step.Analysis, among)
		templates.CanaryStepIndex = index
		messages = append(messages, missing...)
		references.AnalysisTemplatesWithType = append(references.AnalysisTemplatesWithType, templates)
	}
	for _, problem := range append(
		validation.ValidateRollout(rollout),
		validation.ValidateRolloutReferencedResources(rollout, references)...) {
		messages = append(messages, problem.Error())
	}
	return messages
}

func stepTemplates(
	step *v1alpha1.RolloutAnalysis, among []*object,
) (validation.AnalysisTemplatesWithType, []string) {
	found := validation.AnalysisTemplatesWithType{
		TemplateType: validation.InlineAnalysis, Args: step.Args,
	}
	var missing []string
	for _, reference := range step.Templates {
		cluster := find[*v1alpha1.ClusterAnalysisTemplate](among, reference.TemplateName)
		plain := find[*v1alpha1.AnalysisTemplate](among, reference.TemplateName)
		clusterScope := reference.IsClusterScope()
		switch {
		case clusterScope && cluster != nil:
			// A copy, for the validation fills in placeholders.
			found.ClusterAnalysisTemplates = append(found.ClusterAnalysisTemplates, cluster.DeepCopy())
		case !clusterScope && plain != nil:
			found.AnalysisTemplates = append(found.AnalysisTemplates, plain.DeepCopy())
		default:
			missing = append(missing, fmt.Sprintf("no template %q among the manifests", reference.TemplateName))
		}
	}
	return found, missing
}

func find[T metav1.Object](among []*object, name string) T {
	var none T
	for _, object := range among {
		if value, ok := object.value.(T); ok && value.GetName() == name {
			return value
		}
	}
	return none
}
