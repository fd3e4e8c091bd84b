{{- define "fauna-operator.namespaces" -}}
{{- join "," (default (list .Release.Namespace) .Values.watchNamespaces) -}}
{{- end -}}
{{- define "fauna-operator.rules" -}}
- apiGroups: [fauna.dev]
  resources: [faunaclusters]
  verbs: [get, list, watch]
- apiGroups: [fauna.dev]
  resources: [faunaclusters/status]
  verbs: [get, update, patch]
- apiGroups: [fauna.dev]
  resources: [faunaclusters/finalizers]   # owner references that block deletion, where admission asks
  verbs: [update]
- apiGroups: [""]
  resources: [pods, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, secrets, configmaps]
  verbs: [get, list, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, create, patch]
{{- end -}}
