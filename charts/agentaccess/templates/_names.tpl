{{/* One agentaccess governs a cluster, so what has no namespace has a fixed name: a second release is refused by Helm. */}}
{{- define "agentaccess.labels" -}}
app.kubernetes.io/name: agentaccess
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "agentaccess.selector" -}}
app.kubernetes.io/name: agentaccess
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* The user as which the operator speaks to the API server. */}}
{{- define "agentaccess.operator" -}}
system:serviceaccount:{{ .Release.Namespace }}:agentaccess-operator
{{- end }}

{{/* An image, by its digest when there is one: what a tag means can change. Arguments: image, default tag. */}}
{{- define "agentaccess.image" -}}
{{- $image := index . 0 }}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}
{{- else }}{{ $image.repository }}:{{ $image.tag | default (index . 1) }}
{{- end }}
{{- end }}

{{/* Namespaces that are never governed: without their pods no other pod starts. */}}
{{- define "agentaccess.excluded" -}}
{{- toJson (concat (list "kube-system" "kube-public" "kube-node-lease" .Release.Namespace) .Values.injection.exclude | uniq) }}
{{- end }}

{{- define "agentaccess.governedNamespaces" -}}
matchLabels:
  agentaccess.dev/injection: enabled
matchExpressions:
- {key: kubernetes.io/metadata.name, operator: NotIn, values: {{ include "agentaccess.excluded" . }}}
{{- end }}

{{- /* What the operator mounts: where recordings are kept, or what opens it, and where approvals are told; perhaps nothing. */}}
{{- define "agentaccess.volumes" -}}
{{- $store := .Values.recordings.store }}
{{- $notify := .Values.approvals.notify.secretName }}
{{- $bucket := and $store.url $store.credentials }}
mounts:
{{- if $store.claim }}
- {name: recordings, mountPath: /var/lib/agentaccess/recordings}
{{- else if $bucket }}
- {name: recordings, mountPath: /etc/agentaccess/recordings, readOnly: true}
{{- end }}
{{- if $notify }}
- {name: notify, mountPath: /etc/agentaccess/notify, readOnly: true}
{{- end }}
volumes:
{{- if $store.claim }}
- name: recordings
  persistentVolumeClaim: {claimName: {{ $store.claim }}}
{{- else if $bucket }}
- name: recordings
  secret: {secretName: {{ $store.credentials }}, defaultMode: 0440}
{{- end }}
{{- if $notify }}
# Without it nobody is told, which the operator says; approvals go on.
- name: notify
  secret: {secretName: {{ $notify }}, defaultMode: 0440, optional: true}
{{- end }}
{{- end }}

{{/* Where telemetry goes, as arguments of operator and sidecar; a list as JSON, empty when it goes nowhere. */}}
{{- define "agentaccess.otel" -}}
{{- $arguments := list }}
{{- with .Values.otel.endpoint }}
{{- $arguments = append $arguments (printf "--otel-endpoint=%s" .) }}
{{- end }}
{{- with .Values.otel.ca }}
{{- $arguments = append $arguments (printf "--otel-ca=%s" (b64enc .)) }}
{{- end }}
{{- if .Values.otel.insecure }}
{{- $arguments = append $arguments "--otel-insecure" }}
{{- end }}
{{- toJson $arguments }}
{{- end }}
