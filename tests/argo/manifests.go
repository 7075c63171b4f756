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
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

// Kinds whose types are in no module that is used here: read, but not checked for unknown fields.
var unchecked = []schema.GroupVersionKind{
	{Group: "networking.istio.io", Version: "v1", Kind: "VirtualService"},
	{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"},
}

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
	for _, kind := range unchecked {
		kinds.AddKnownTypeWithName(kind, &unstructured.Unstructured{})
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

func argoErrors(value runtime.Object, among manifests) []string {
	switch value := value.(type) {
	case *v1alpha1.AnalysisTemplate:
		return templateErrors(value.Spec)
	case *v1alpha1.ClusterAnalysisTemplate:
		return templateErrors(value.Spec)
	case *v1alpha1.AnalysisRun:
		return metricsErrors(value.Spec.Metrics, value.Spec.Args)
	case *v1alpha1.Rollout:
		return rolloutErrors(value, among)
	}
	return nil
}

// manifests are all objects of a call: a Rollout and what it names are looked for in them.
type manifests []*object

func find[T metav1.Object](among manifests, name string) T {
	var none T
	for _, object := range among {
		if value, ok := object.value.(T); ok && value.GetName() == name {
			return value
		}
	}
	return none
}

func (among manifests) service(name string) *corev1.Service {
	return find[*corev1.Service](among, name)
}

func (among manifests) ingress(name string) *networkingv1.Ingress {
	return find[*networkingv1.Ingress](among, name)
}

// unchecked finds an object of one of the kinds that have no type here.
func (among manifests) unchecked(kind, name string) *unstructured.Unstructured {
	for _, object := range among {
		if value, ok := object.value.(*unstructured.Unstructured); ok && object.Kind == kind && object.Name == name {
			return value
		}
	}
	return nil
}
