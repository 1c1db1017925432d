package bundle

// StoredManifest returns the manifest in the bytes of a manifest.dsse.json
// that Open verified when it was stored. It checks no signature again: the key
// may have been revoked since, and the system that it installed still runs.
func StoredManifest(b []byte) (*Manifest, error) {
	e, err := parseEnvelope(b, ManifestType, MaxManifest)
	if err != nil {
		return nil, formatErrorf("reading a stored %s: %w", ManifestName, err)
	}
	return ParseManifest(e.Payload)
}
