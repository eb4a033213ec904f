{{- define "zen-watcher.dnsNames" -}}
{{- $name := include "zen-watcher.fullname" . -}}
{{- $namespace := .Release.Namespace -}}
{{- list $name (printf "%s.%s" $name $namespace) (printf "%s.%s.svc" $name $namespace) (printf "%s.%s.svc.cluster.local" $name $namespace) | toRawJson -}}
{{- end -}}

{{- /*
The certificate of this release, base64 as in a Secret: the one there is, else a new one, the same wherever this
rendering asks. Kept in .Values because every call of genSignedCert makes another.
*/ -}}
{{- define "zen-watcher.generatedTls" -}}
{{- if not (hasKey .Values "generatedTls") -}}
{{- $data := dig "data" dict (lookup "v1" "Secret" .Release.Namespace (include "zen-watcher.tlsSecret" .)) -}}
{{- if and (get $data "tls.crt") (get $data "tls.key") (get $data "ca.crt") -}}
{{- $_ := set .Values "generatedTls" (dict "cert" (get $data "tls.crt") "key" (get $data "tls.key") "ca" (get $data "ca.crt")) -}}
{{- else -}}
{{- $ca := genCA (printf "%s-ca" (include "zen-watcher.fullname" .)) 3650 -}}
{{- $names := include "zen-watcher.dnsNames" . | fromJsonArray -}}
{{- $cert := genSignedCert (printf "%s.%s.svc" (include "zen-watcher.fullname" .) .Release.Namespace) nil $names 3650 $ca -}}
{{- $_ := set .Values "generatedTls" (dict "cert" (b64enc $cert.Cert) "key" (b64enc $cert.Key) "ca" (b64enc $ca.Cert)) -}}
{{- end -}}
{{- end -}}
{{- toRawJson .Values.generatedTls -}}
{{- end -}}

{{- define "zen-watcher.caBundle" -}}
{{- if .Values.tls.certManager.enabled -}}
{{- else if .Values.tls.existingSecret -}}
{{- required "tls.caBundle is needed with tls.existingSecret: the API server must know who signed it" .Values.tls.caBundle -}}
{{- else -}}
{{- get (include "zen-watcher.generatedTls" . | fromJson) "ca" -}}
{{- end -}}
{{- end -}}
