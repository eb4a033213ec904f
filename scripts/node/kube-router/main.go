// Kube-router, of which only the controller of network policies runs: it enforces them with iptables and ipset.
package main

import (
	"os"
	"sync"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"github.com/spf13/pflag"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	c := options.NewKubeRouterConfig()
	c.AddFlags(pflag.CommandLine)
	must(pflag.CommandLine.Parse(os.Args[1:]))
	rc, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	must(err)
	cs := kubernetes.NewForConfigOrDie(rc)
	stop := make(chan struct{})
	f := informers.NewSharedInformerFactory(cs, 0)
	pods, nss, nps := f.Core().V1().Pods().Informer(), f.Core().V1().Namespaces().Informer(), f.Networking().V1().NetworkPolicies().Informer()
	f.Start(stop)
	f.WaitForCacheSync(stop)
	hc := make(chan *healthcheck.ControllerHeartbeat, 10)
	go func() { for range hc { } }()
	var mu sync.Mutex
	var wg sync.WaitGroup
	ipt, ips, err := netpol.NewIPTablesHandlers(c)
	must(err)
	n, err := netpol.NewNetworkPolicyController(cs, c, pods, nps, nss, &mu, ipt, ips)
	must(err)
	_, err = pods.AddEventHandler(n.PodEventHandler)
	must(err)
	_, err = nss.AddEventHandler(n.NamespaceEventHandler)
	must(err)
	_, err = nps.AddEventHandler(n.NetworkPolicyEventHandler)
	must(err)
	wg.Add(1)
	n.Run(hc, stop, &wg)
}
