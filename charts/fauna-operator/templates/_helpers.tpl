{{/* The namespaces that are watched, by name; empty when it is all of them. */}}
{{- define "fauna-operator.namespaces" -}}
{{- if and .Values.watchAllNamespaces .Values.watchNamespaces -}}
{{- fail "watchAllNamespaces watches every namespace: leave watchNamespaces empty" -}}
{{- end -}}
{{- if not .Values.watchAllNamespaces -}}
{{- join "," (default (list .Release.Namespace) .Values.watchNamespaces) -}}
{{- end -}}
{{- end -}}

{{/* A name for what has no namespace, so that two releases do not meet. */}}
{{- define "fauna-operator.global" -}}
{{ .Release.Namespace }}-{{ .Release.Name }}
{{- end -}}

{{- define "fauna-operator.selector" -}}
app.kubernetes.io/name: fauna-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fauna-operator.labels" -}}
{{ include "fauna-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "fauna-operator.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "fauna-operator.account" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ .Release.Name }}
{{- end -}}

{{/* "true" when an optional part is wanted: always, or Auto and its API exists. */}}
{{- define "fauna-operator.wanted" -}}
{{- $wanted := index . 0 -}}
{{- if or (eq (toString $wanted) "true") (and (eq (toString $wanted) "Auto") ((index . 1).Capabilities.APIVersions.Has (index . 2))) -}}
true
{{- end -}}
{{- end -}}

{{/* What the operator may do in a namespace; a test compares it with what it does. */}}
{{- define "fauna-operator.rules" -}}
- apiGroups: [fauna.dev]   # a restore makes the cluster for its data
  resources: [faunaclusters]
  verbs: [get, list, watch, create]
- apiGroups: [fauna.dev]
  resources: [faunarestores, faunascheduledbackups]
  verbs: [get, list, watch]
- apiGroups: [fauna.dev]   # held by a finalizer until their data are deleted; schedules make them
  resources: [faunabackups]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [fauna.dev]
  resources: [faunaclusters/status, faunabackups/status, faunascheduledbackups/status, faunarestores/status]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [apps]   # the archive of a cluster's log
  resources: [deployments]
  verbs: [get, create, patch, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims, namespaces]   # is the store there, does the namespace end
  verbs: [get]
- apiGroups: [""]
  resources: [pods, persistentvolumeclaims]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [list, create, patch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, create, patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}
