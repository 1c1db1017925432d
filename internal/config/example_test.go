package config_test

import (
	"fmt"

	"github.com/abupdate/abupdate/internal/config"
)

func ExampleParse() {
	c, err := config.Parse("config.toml", []byte("[trial]\ntries = 5\n"))
	fmt.Println(c.Trial.Tries, c.Trial.Deadline, err)
	_, err = config.Parse("config.toml", []byte("[trial]\ntrys = 5\n"))
	fmt.Println(err)
	// Output:
	// 5 10m0s <nil>
	// config.toml:2: unknown key "trys" in [trial]: did you mean "tries"?
}
