/* run_c BUNDLE INPUTS OUTPUTS: run every subnet once through the C interface.
 *
 * INPUTS holds the network's inputs one after the other as raw bytes; OUTPUTS receives the outputs
 * of every subnet, in the order of the manifest, likewise. A subnet that takes smaller inputs gets
 * what they begin with. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hwnas/switcher.h"

static int failed(const char* what) {
  fprintf(stderr, "%s: %s; %s\n", what, hwnas_last_error(), hwnas_last_fix());
  return 1;
}

static void** allocate(size_t count, const hwnas_tensor_spec* (*spec)(const hwnas_switcher*, size_t),
                       const hwnas_switcher* switcher) {
  void** buffers = calloc(count, sizeof *buffers);
  size_t i;
  for (i = 0; buffers != NULL && i < count; ++i) buffers[i] = calloc(1, spec(switcher, i)->bytes);
  return buffers;
}

static int run_all(hwnas_switcher* switcher, const char* from, const char* to) {
  const size_t takes = hwnas_input_count(switcher), gives = hwnas_output_count(switcher);
  void** inputs = allocate(takes, hwnas_input, switcher);
  void** outputs = allocate(gives, hwnas_output, switcher);
  FILE* in = fopen(from, "rb");
  FILE* out = fopen(to, "wb");
  size_t i, subnet;
  int bad = in == NULL || out == NULL || inputs == NULL || outputs == NULL;

  for (i = 0; !bad && i < takes; ++i) {
    bad = fread(inputs[i], hwnas_input(switcher, i)->bytes, 1, in) != 1;
  }
  for (subnet = 0; !bad && subnet < hwnas_subnet_count(switcher); ++subnet) {
    /* Half of them as the current subnet, half for one call alone. */
    const size_t named = subnet % 2 ? subnet : HWNAS_CURRENT;
    if (named == HWNAS_CURRENT) hwnas_set_current(switcher, subnet);
    if (hwnas_run(switcher, named, (const void* const*)inputs, outputs) != HWNAS_OK) {
      bad = failed("run");
    }
    for (i = 0; !bad && i < gives; ++i) {
      bad = fwrite(outputs[i], hwnas_subnet_output(switcher, subnet, i)->bytes, 1, out) != 1;
    }
  }
  if (in != NULL) fclose(in);
  if (out != NULL) bad |= fclose(out) != 0;
  for (i = 0; inputs != NULL && i < takes; ++i) free(inputs[i]);
  for (i = 0; outputs != NULL && i < gives; ++i) free(outputs[i]);
  free(inputs);
  free(outputs);
  return bad;
}

int main(int argc, char** argv) {
  hwnas_options options;
  hwnas_switcher* switcher = NULL;
  int bad;
  if (argc != 4) return 2;
  if (strcmp(hwnas_version(), HWNAS_VERSION) != 0) return 3;
  if (hwnas_abi_version() < HWNAS_ABI_VERSION) return 3;
  hwnas_options_init(&options);
  if (hwnas_open(argv[1], &options, &switcher) != HWNAS_OK) return failed("open");
  bad = run_all(switcher, argv[2], argv[3]);
  hwnas_close(switcher);
  return bad;
}
