{{- define "zen-watcher.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "zen-watcher.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "zen-watcher.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "zen-watcher.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "zen-watcher.selectorLabels" -}}
app.kubernetes.io/name: {{ include "zen-watcher.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "zen-watcher.labels" -}}
{{- include "zen-watcher.labelsWith" (list . dict) -}}
{{- end -}}

{{- /*
The labels of an object with further ones of its own: (list $ labels). Of a label that is given twice the chart's own
stays, as selectors and Helm go by it, and the object's wins over commonLabels.
*/ -}}
{{- define "zen-watcher.labelsWith" -}}
{{- $root := index . 0 -}}
{{- $own := dict
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/managed-by" $root.Release.Service
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_")
-}}
{{- toYaml (merge (include "zen-watcher.selectorLabels" $root | fromYaml) $own (index . 1) $root.Values.commonLabels) -}}
{{- end -}}

{{- define "zen-watcher.podLabels" -}}
{{- toYaml (merge (include "zen-watcher.selectorLabels" . | fromYaml) .Values.podLabels .Values.commonLabels) -}}
{{- end -}}

{{- define "zen-watcher.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "zen-watcher.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* The controller's user, as the API server knows it. */ -}}
{{- define "zen-watcher.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "zen-watcher.serviceAccountName" . }}
{{- end -}}

{{- /* Who may write what zen-watcher alone may write, as a JSON list: the controller, further ones, restorers. */ -}}
{{- define "zen-watcher.writers" -}}
{{- $users := concat (list (include "zen-watcher.user" .)) .Values.statusIntegrity.controllers .Values.statusIntegrity.restorers -}}
{{- toRawJson (uniq $users) -}}
{{- end -}}

{{- define "zen-watcher.image" -}}
{{- $registry := default .Values.image.registry (dig "imageRegistry" "" (default dict .Values.global)) -}}
{{- $repository := ternary .Values.image.repository (printf "%s/%s" $registry .Values.image.repository) (empty $registry) -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- /*
Replicas avoid those of their own revision alone: the old Pods of a rollout, which are about to go, would send two new ones
to one node. Kubernetes reads this from 1.31 on.
*/ -}}
{{- define "zen-watcher.sameRevision" -}}
{{- if semverCompare ">=1.31.0-0" .Capabilities.KubeVersion.Version -}}
matchLabelKeys:
  - pod-template-hash
{{- end -}}
{{- end -}}

{{- define "zen-watcher.filterNamespace" -}}
{{- default .Release.Namespace .Values.filters.namespace -}}
{{- end -}}

{{- define "zen-watcher.tokenSecret" -}}
{{- default (printf "%s-webhook" (include "zen-watcher.fullname" .)) .Values.webhooks.auth.existingSecret -}}
{{- end -}}

{{- define "zen-watcher.tlsSecret" -}}
{{- default (printf "%s-tls" (include "zen-watcher.fullname" .)) .Values.tls.existingSecret -}}
{{- end -}}

{{- define "zen-watcher.filterStatusName" -}}
{{- if eq .Values.instance "default" -}}
zen-watcher-filter-status
{{- else -}}
zen-watcher-filter-status-{{ .Values.instance }}
{{- end -}}
{{- end -}}

{{- define "zen-watcher.leaseName" -}}
{{- if eq .Values.instance "default" -}}
zen-watcher-leader-election
{{- else -}}
zen-watcher-leader-election-{{ .Values.instance }}
{{- end -}}
{{- end -}}

{{- define "zen-watcher.clusterScoped" -}}
{{- if kindIs "bool" .Values.watchClusterScoped -}}
{{- .Values.watchClusterScoped -}}
{{- else -}}
{{- empty .Values.watchNamespaces -}}
{{- end -}}
{{- end -}}

{{- /* The sources that read ConfigMaps, as a JSON list, each with the namespace where these are. */ -}}
{{- define "zen-watcher.configMapSources" -}}
{{- $sources := list -}}
{{- range $source := (.Files.Get "files/sources.yaml" | fromYaml).configMaps -}}
{{- $value := index $.Values $source.value -}}
{{- $place := dict "namespace" (default $.Release.Namespace $value.namespace) "createNamespace" $value.createNamespace -}}
{{- $sources = append $sources (merge $place $source) -}}
{{- end -}}
{{- toRawJson $sources -}}
{{- end -}}

{{- /* OpenShift's restricted-v2 admits only users and groups of the namespace's own range, which it fills in. */ -}}
{{- define "zen-watcher.podSecurityContext" -}}
{{- $context := .Values.podSecurityContext -}}
{{- if .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{- /* The replicas there are at least. */ -}}
{{- define "zen-watcher.replicas" -}}
{{- if .Values.autoscaling.enabled -}}{{ max (int .Values.autoscaling.minReplicas) (int .Values.replicaCount) }}{{- else -}}{{ .Values.replicaCount }}{{- end -}}
{{- end -}}

{{- /* Environment of the controller, also of the test that asks for its rights. */ -}}
{{- define "zen-watcher.env" -}}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: INSTANCE
  value: {{ .Values.instance | quote }}
- name: WATCH_NAMESPACE
  value: {{ join "," .Values.watchNamespaces | quote }}
- name: WATCH_CLUSTER_SCOPED
  value: {{ include "zen-watcher.clusterScoped" . | quote }}
- name: OBSERVATION_NAMESPACE
  value: {{ .Values.observationNamespace | quote }}
- name: TRUSTED_CONFIG_NAMESPACES
  value: {{ join "," .Values.trustedConfigNamespaces | quote }}
- name: TENANT_FILTERS
  value: {{ .Values.tenantFilters | quote }}
- name: EXCEPTION_MAX_DAYS
  value: {{ .Values.exceptions.maxDays | int | quote }}
{{- range $source := include "zen-watcher.configMapSources" . | fromJsonArray }}
- name: {{ $source.env }}
  value: {{ $source.namespace | quote }}
{{- end }}
- name: FILTER_CONFIGMAP_NAME
  value: {{ .Values.filters.name | quote }}
- name: FILTER_CONFIGMAP_NAMESPACE
  value: {{ include "zen-watcher.filterNamespace" . | quote }}
- name: FILTER_CONFIGMAP_KEY
  value: {{ .Values.filters.key | quote }}
- name: WEBHOOK_ALLOWED_IPS
  value: {{ join "," .Values.webhooks.allowedIPs | quote }}
- name: TRUSTED_PROXY_CIDRS
  value: {{ join "," .Values.webhooks.trustedProxyCIDRs | quote }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ ternary (int64 $value | toString) (toString $value) (kindIs "float64" $value) | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
