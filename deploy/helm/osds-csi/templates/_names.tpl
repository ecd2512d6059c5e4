{{/* What the objects are called, and what each container has in common. */}}

{{- define "osds.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "osds.labels" -}}
app.kubernetes.io/name: osds-csi
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "osds.selector" -}}
app.kubernetes.io/name: osds-csi
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "osds.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* How the driver finds the control plane, and as whom. */}}
{{- define "osds.environment" -}}
- name: OPENSDS_ENDPOINT
  value: {{ .Values.driver.endpoint | quote }}
{{- if .Values.driver.caConfigMap }}
- name: OS_CACERT
  value: /etc/osds-ca/ca.crt
{{- end }}
{{- end }}

{{- define "osds.credentials" -}}
{{- with .Values.driver.credentialsSecret }}
envFrom:
  - secretRef:
      name: {{ . }}
{{- end }}
{{- end }}

{{/* A container that needs nothing of the node. */}}
{{- define "osds.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}
