vllm serve deepseek-ai/DeepSeek-R1 \
  --tensor-parallel-size 8 --data-parallel-size 2 \
  --all2all-backend deepep_low_latency --enable-eplb
