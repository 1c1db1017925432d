package config

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/BurntSushi/toml"
)

// maxFile is far more than any configuration needs.
const maxFile = 1 << 20

// Load reads the file at path. A missing file is an error that is
// os.ErrNotExist; the caller may take Default then.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return Parse(path, text)
}

// Parse reads text as the content of the file name, which errors name.
func Parse(name string, text []byte) (*Config, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: longer than %d bytes", name, maxFile)
	}
	p := &parser{config: Default(), sections: map[string]map[string]toml.Primitive{}}
	if err := p.parse(string(text)); err != nil {
		return nil, locate(name, err)
	}
	if err := p.config.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p.config, nil
}

// locate puts file and line in front of an error of the TOML library.
func locate(name string, err error) error {
	var pe toml.ParseError
	if errors.As(err, &pe) && pe.Position.Line > 0 {
		return fmt.Errorf("%s:%d: %s", name, pe.Position.Line, pe.Message)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// parser walks a file key by key in the order of the file. It leaves each
// value undecoded until the schema has said what it must be, because the
// library alone would ignore unknown keys, take them in any case, and could
// not tell the line of a value that is out of range.
type parser struct {
	config   *Config
	meta     toml.MetaData
	sections map[string]map[string]toml.Primitive
}

func (p *parser) parse(text string) error {
	var top map[string]toml.Primitive
	var err error
	if p.meta, err = toml.Decode(text, &top); err != nil {
		return err
	}
	for _, key := range p.meta.Keys() {
		section, err := p.section(key[0], top[key[0]])
		if err != nil {
			return err
		}
		if len(key) == 2 { // deeper ones are part of a value, and refused with it
			if err := p.set(key[0], key[1], section[key[1]]); err != nil {
				return err
			}
		}
	}
	return nil
}

// section returns the undecoded values of a section.
func (p *parser) section(name string, undecoded toml.Primitive) (map[string]toml.Primitive, error) {
	if s := p.sections[name]; s != nil {
		return s, nil
	}
	err := p.decode(undecoded, func(v any) error {
		if _, ok := schema[name]; !ok {
			return fmt.Errorf("unknown section or key %q%s", name, suggest(name, schema))
		}
		if _, ok := v.(map[string]any); !ok {
			return fmt.Errorf("%q must be a section: write [%s]", name, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s := map[string]toml.Primitive{}
	if err := p.meta.PrimitiveDecode(undecoded, &s); err != nil {
		return nil, err
	}
	p.sections[name] = s
	return s, nil
}

func (p *parser) set(section, key string, undecoded toml.Primitive) error {
	return p.decode(undecoded, func(v any) error {
		set, ok := schema[section][key]
		if !ok {
			return fmt.Errorf("unknown key %q in [%s]%s", key, section, suggest(key, schema[section]))
		}
		if err := set(p.config)(v); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	})
}

// decode gives take the value. Its error comes back with the line.
func (p *parser) decode(undecoded toml.Primitive, take value) error {
	return p.meta.PrimitiveDecode(undecoded, take)
}

// value takes a decoded TOML value: string, int64, bool, []any, map[string]any….
type value func(any) error

// UnmarshalTOML implements toml.Unmarshaler.
func (f value) UnmarshalTOML(v any) error { return f(v) }
