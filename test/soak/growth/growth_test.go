package growth

import (
	"strings"
	"testing"
)

func TestGrowthIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		values []float64
		want   string
	}{
		"flat":        {[]float64{80, 81, 80, 85, 84, 86}, ""},
		"smaller":     {[]float64{80, 80, 40, 40}, ""},
		"grown":       {[]float64{80, 80, 90, 95, 120, 121}, "from 80.0 to 121.0 pages"},
		"one outlier": {[]float64{80, 80, 80, 80, 80, 80, 80, 500, 80}, ""},
		"too few":     {[]float64{80, 90}, "2 values of pages"},
	} {
		err := Check("pages", c.values, 1.25, 10)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
