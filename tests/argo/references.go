package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/batch"
	batchdefaults "k8s.io/kubernetes/pkg/apis/batch/v1"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"

	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/validation"
	"github.com/argoproj/argo-rollouts/utils/analysis"
	"github.com/argoproj/argo-rollouts/utils/ingress"
)

func templateErrors(spec v1alpha1.AnalysisTemplateSpec) []string {
	arguments := make([]v1alpha1.Argument, 0, len(spec.Args))
	for _, argument := range spec.Args {
		if argument.Value == nil {
			placeholder := "placeholder"
			argument.Value = &placeholder
		}
		arguments = append(arguments, argument)
	}
	return metricsErrors(spec.Metrics, arguments)
}

func metricsErrors(metrics []v1alpha1.Metric, arguments []v1alpha1.Argument) []string {
	var messages []string
	resolved := make([]v1alpha1.Metric, 0, len(metrics))
	for _, metric := range metrics {
		known, err := analysis.ResolveMetricArgs(metric, arguments)
		if err != nil {
			return []string{err.Error()}
		}
		resolved = append(resolved, *known)
		if known.Provider.Job != nil {
			messages = append(messages, jobErrors(known.Provider.Job.Spec)...)
		}
	}
	if err := analysis.ValidateMetrics(resolved); err != nil {
		messages = append(messages, err.Error())
	}
	return messages
}

// jobErrors are what an API server would say of the job: Argo looks into it as little as its CRD does.
func jobErrors(spec batchv1.JobSpec) []string {
	job := batchv1.Job{Spec: *spec.DeepCopy()}
	batchdefaults.SetObjectDefaults_Job(&job)
	var internal batch.JobTemplateSpec
	if err := batchdefaults.Convert_v1_JobSpec_To_batch_JobSpec(&job.Spec, &internal.Spec, nil); err != nil {
		return []string{err.Error()}
	}
	return texts(batchvalidation.ValidateJobTemplateSpec(
		&internal, field.NewPath("job"), corevalidation.PodValidationOptions{}))
}

// rolloutErrors validates a Rollout together with everything that it names.
func rolloutErrors(rollout *v1alpha1.Rollout, among manifests) []string {
	seeker := &seeker{among: among}
	if canary := rollout.Spec.Strategy.Canary; canary != nil {
		seeker.canary(rollout, canary)
	}
	if blueGreen := rollout.Spec.Strategy.BlueGreen; blueGreen != nil {
		seeker.blueGreen(blueGreen)
	}
	problems := append(
		validation.ValidateRollout(rollout),
		validation.ValidateRolloutReferencedResources(rollout, seeker.found)...)
	return append(seeker.missing, texts(problems)...)
}

func texts(problems field.ErrorList) []string {
	messages := []string{}
	for _, problem := range problems {
		messages = append(messages, problem.Error())
	}
	return messages
}

// seeker collects what a Rollout names, as Argo's controller does before it validates.
type seeker struct {
	among   manifests
	found   validation.ReferencedResources
	missing []string
}

func (s *seeker) miss(format string, words ...any) {
	s.missing = append(s.missing, fmt.Sprintf(format, words...))
}

func (s *seeker) canary(rollout *v1alpha1.Rollout, canary *v1alpha1.CanaryStrategy) {
	s.service(validation.StableService, canary.StableService)
	s.service(validation.CanaryService, canary.CanaryService)
	if canary.TrafficRouting != nil {
		s.routing(canary)
	}
	if canary.Analysis != nil {
		s.analysis(validation.BackgroundAnalysis, 0, &canary.Analysis.RolloutAnalysis)
	}
	for index, step := range canary.Steps {
		if step.Analysis != nil {
			s.analysis(validation.InlineAnalysis, index, step.Analysis)
		}
		if step.Experiment != nil {
			for _, each := range step.Experiment.Analyses {
				s.experiment(rollout, each)
			}
		}
	}
}

func (s *seeker) blueGreen(strategy *v1alpha1.BlueGreenStrategy) {
	s.service(validation.ActiveService, strategy.ActiveService)
	s.service(validation.PreviewService, strategy.PreviewService)
	if strategy.PrePromotionAnalysis != nil {
		s.analysis(validation.PrePromotionAnalysis, 0, strategy.PrePromotionAnalysis)
	}
	if strategy.PostPromotionAnalysis != nil {
		s.analysis(validation.PostPromotionAnalysis, 0, strategy.PostPromotionAnalysis)
	}
}

func (s *seeker) service(role validation.ServiceType, name string) {
	if name == "" {
		return
	}
	if service := s.among.service(name); service != nil {
		s.found.ServiceWithType = append(s.found.ServiceWithType, validation.ServiceWithType{Service: service, Type: role})
	} else {
		s.miss("no Service %q among the manifests", name)
	}
}

func (s *seeker) routing(canary *v1alpha1.CanaryStrategy) {
	routing := canary.TrafficRouting
	if routing.Istio != nil {
		name := routing.Istio.VirtualService.Name
		if service := s.among.unchecked("VirtualService", name); service != nil {
			s.found.VirtualServices = append(s.found.VirtualServices, *service)
		} else {
			s.miss("no VirtualService %q among the manifests", name)
		}
	}
	if routing.Nginx != nil {
		if stable := s.among.ingress(routing.Nginx.StableIngress); stable != nil {
			s.found.Ingresses = append(s.found.Ingresses, *ingress.NewIngress(stable))
		} else {
			s.miss("no Ingress %q among the manifests", routing.Nginx.StableIngress)
		}
	}
	if settings, ok := routing.Plugins["argoproj-labs/gatewayAPI"]; ok {
		s.gateway(canary, settings)
	}
}

// gateway checks by itself what the plugin would: Argo knows nothing of routes.
func (s *seeker) gateway(canary *v1alpha1.CanaryStrategy, settings []byte) {
	var plugin struct{ HTTPRoute, Namespace string }
	decoder := json.NewDecoder(bytes.NewReader(settings))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&plugin); err != nil {
		s.miss("gatewayAPI: %v", err)
		return
	}
	route := s.among.unchecked("HTTPRoute", plugin.HTTPRoute)
	if route == nil || route.GetNamespace() != plugin.Namespace {
		s.miss("no HTTPRoute %q of namespace %q among the manifests", plugin.HTTPRoute, plugin.Namespace)
		return
	}
	rules, _, _ := unstructured.NestedSlice(route.Object, "spec", "rules")
	for _, rule := range rules {
		backends, _, _ := unstructured.NestedSlice(rule.(map[string]any), "backendRefs")
		names := map[any]bool{}
		for _, backend := range backends {
			names[backend.(map[string]any)["name"]] = true
		}
		if len(names) != 2 || !names[canary.StableService] || !names[canary.CanaryService] {
			s.miss("a rule of HTTPRoute %q has other backends than both Services", plugin.HTTPRoute)
		}
	}
}

func (s *seeker) analysis(kind validation.AnalysisTemplateType, step int, asked *v1alpha1.RolloutAnalysis) {
	found := validation.AnalysisTemplatesWithType{TemplateType: kind, CanaryStepIndex: step, Args: asked.Args}
	s.templates(&found, asked.Templates)
	s.unknownArguments(found)
	s.found.AnalysisTemplatesWithType = append(s.found.AnalysisTemplatesWithType, found)
}

// experiment forms the run of an experiment's analysis, which Argo validates only when it is due.
func (s *seeker) experiment(rollout *v1alpha1.Rollout, asked v1alpha1.RolloutExperimentStepAnalysisTemplateRef) {
	found := validation.AnalysisTemplatesWithType{Args: asked.Args}
	s.templates(&found, []v1alpha1.AnalysisTemplateRef{
		{TemplateName: asked.TemplateName, ClusterScope: asked.ClusterScope},
	})
	s.unknownArguments(found)
	arguments, err := analysis.BuildArgumentsForRolloutAnalysisRun(asked.Args, &appsv1.ReplicaSet{}, &appsv1.ReplicaSet{}, rollout)
	if err == nil {
		_, err = analysis.NewAnalysisRunFromTemplates(
			found.AnalysisTemplates, found.ClusterAnalysisTemplates, arguments, nil, nil, nil, nil, "run", "", "default")
	}
	if err != nil {
		s.miss("experiment: %v", err)
	}
}

// templates finds the templates that are named, and those that these name in turn.
func (s *seeker) templates(found *validation.AnalysisTemplatesWithType, names []v1alpha1.AnalysisTemplateRef) {
	for _, reference := range names {
		cluster := find[*v1alpha1.ClusterAnalysisTemplate](s.among, reference.TemplateName)
		plain := find[*v1alpha1.AnalysisTemplate](s.among, reference.TemplateName)
		clusterScope := reference.IsClusterScope()
		switch {
		case clusterScope && cluster != nil:
			// A copy, for the validation fills in placeholders.
			found.ClusterAnalysisTemplates = append(found.ClusterAnalysisTemplates, cluster.DeepCopy())
			s.templates(found, cluster.Spec.Templates)
		case !clusterScope && plain != nil:
			found.AnalysisTemplates = append(found.AnalysisTemplates, plain.DeepCopy())
			s.templates(found, plain.Spec.Templates)
		default:
			s.miss("no template %q among the manifests", reference.TemplateName)
		}
	}
}

// unknownArguments finds arguments that no template declares: Argo drops them without a word.
func (s *seeker) unknownArguments(found validation.AnalysisTemplatesWithType) {
	declared := map[string]bool{}
	for _, template := range found.AnalysisTemplates {
		for _, argument := range template.Spec.Args {
			declared[argument.Name] = true
		}
	}
	for _, template := range found.ClusterAnalysisTemplates {
		for _, argument := range template.Spec.Args {
			declared[argument.Name] = true
		}
	}
	for _, argument := range found.Args {
		if !declared[argument.Name] {
			s.miss("no template declares the argument %q", argument.Name)
		}
	}
}
