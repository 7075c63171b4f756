package main

import (
	"context"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeinformers "k8s.io/client-go/informers"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/util/workqueue"

	"github.com/argoproj/argo-rollouts/analysis"
	"github.com/argoproj/argo-rollouts/controller/metrics"
	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/pkg/client/clientset/versioned/fake"
	informers "github.com/argoproj/argo-rollouts/pkg/client/informers/externalversions"
	rollouts "github.com/argoproj/argo-rollouts/pkg/client/informers/externalversions/rollouts/v1alpha1"
	analysisutil "github.com/argoproj/argo-rollouts/utils/analysis"
	"github.com/argoproj/argo-rollouts/utils/record"
	timeutil "github.com/argoproj/argo-rollouts/utils/time"
)

// No template asks as often as this; a run that does not end by then never will.
const mostLooks = 1000

// outcome is the end of an AnalysisRun, with the seconds that it would have taken in a cluster.
type outcome struct {
	Phase   string          `json:"phase"`
	Message string          `json:"message"`
	Seconds float64         `json:"seconds"`
	Metrics []metricOutcome `json:"metrics"`
}

type metricOutcome struct {
	Name         string `json:"name"`
	Phase        string `json:"phase"`
	Successful   int32  `json:"successful"`
	Failed       int32  `json:"failed"`
	Inconclusive int32  `json:"inconclusive"`
	Error        int32  `json:"error"`
}

// steppedQueue lets the caller decide when the controller reconciles. The controller asks to be called
// again after a delay; that delay moves the clock instead of being waited for.
type steppedQueue struct {
	workqueue.RateLimitingInterface
	keys  chan any
	done  chan struct{}
	delay atomic.Int64
}

func (q *steppedQueue) Get() (any, bool) {
	key, open := <-q.keys
	return key, !open
}

func (q *steppedQueue) Done(any) { q.done <- struct{}{} }

// Add is called for every event of the informer: the caller steps on its own.
func (q *steppedQueue) Add(any) {}

func (q *steppedQueue) AddRateLimited(any) {}

func (q *steppedQueue) Forget(any) {}

func (q *steppedQueue) AddAfter(_ any, delay time.Duration) { q.delay.Store(int64(delay)) }

// finish drives the run through Argo's analysis controller until it has ended. After the given looks, if any, it is
// ended from outside, as a rollout does that is over.
func finish(run *v1alpha1.AnalysisRun, looks int) (*outcome, error) {
	var now atomic.Pointer[time.Time]
	start := time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)
	now.Store(&start)
	timeutil.SetNowTimeFunc(func() time.Time { return *now.Load() })

	client, kubeClient := fake.NewSimpleClientset(run), kubefake.NewSimpleClientset()
	factory := informers.NewSharedInformerFactory(client, 0)
	runs := factory.Argoproj().V1alpha1().AnalysisRuns()
	queue := &steppedQueue{keys: make(chan any), done: make(chan struct{})}
	controller := analysis.NewController(analysis.ControllerConfig{
		KubeClientSet:        kubeClient,
		ArgoProjClientset:    client,
		AnalysisRunInformer:  runs,
		JobInformer:          kubeinformers.NewSharedInformerFactory(kubeClient, 0).Batch().V1().Jobs(),
		AnalysisRunWorkQueue: queue,
		MetricsServer:        metrics.NewMetricsServer(metrics.ServerConfig{K8SRequestProvider: &metrics.K8sRequestsCountProvider{}}),
		Recorder:             record.NewFakeEventRecorder(),
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	go func() { _ = controller.Run(ctx, 1) }()

	for look := range mostLooks {
		if looks > 0 && look == looks {
			if err := terminate(ctx, client, runs, run); err != nil {
				return nil, err
			}
		}
		queue.keys <- run.Namespace + "/" + run.Name
		<-queue.done
		written, err := client.ArgoprojV1alpha1().AnalysisRuns(run.Namespace).Get(ctx, run.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		if written.Status.Phase.Completed() {
			return describe(written), nil
		}
		if err := await(ctx, runs, written); err != nil {
			return nil, err
		}
		// Statuses are written in whole seconds, so a measurement is due a little after the delay.
		later := now.Load().Add(time.Duration(queue.delay.Swap(0)) + time.Second)
		now.Store(&later)
	}
	return nil, fmt.Errorf("the run has not ended after %d looks", mostLooks)
}

// await waits until the informer has what was written: the controller reads the informer's copy, and with a stale
// one it would forget its last measurement.
func await(ctx context.Context, runs rollouts.AnalysisRunInformer, written *v1alpha1.AnalysisRun) error {
	for {
		seen, err := runs.Lister().AnalysisRuns(written.Namespace).Get(written.Name)
		if err == nil && reflect.DeepEqual(seen.Status, written.Status) && seen.Spec.Terminate == written.Spec.Terminate {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the informer never saw the run: %w", ctx.Err())
		}
		time.Sleep(time.Millisecond)
	}
}

func terminate(
	ctx context.Context, client *fake.Clientset, runs rollouts.AnalysisRunInformer, run *v1alpha1.AnalysisRun,
) error {
	if err := analysisutil.TerminateRun(client.ArgoprojV1alpha1().AnalysisRuns(run.Namespace), run.Name); err != nil {
		return err
	}
	written, err := client.ArgoprojV1alpha1().AnalysisRuns(run.Namespace).Get(ctx, run.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return await(ctx, runs, written)
}

func describe(run *v1alpha1.AnalysisRun) *outcome {
	end := &outcome{Phase: string(run.Status.Phase), Message: run.Status.Message}
	if run.Status.StartedAt != nil && run.Status.CompletedAt != nil {
		end.Seconds = run.Status.CompletedAt.Sub(run.Status.StartedAt.Time).Seconds()
	}
	for _, result := range run.Status.MetricResults {
		end.Metrics = append(end.Metrics, metricOutcome{
			result.Name, string(result.Phase), result.Successful, result.Failed, result.Inconclusive, result.Error,
		})
	}
	return end
}
