"""From a scan plan to sorted, stored spokes: trajectory, sequence, filtering, sorting, MRD files."""
