CKPT_ARGS=(
   --ckpt.save_steps 20
   # --reward.model_name_or_path ${REWARD_MODEL}
)

ray job submit --address="http://127.0.0.1:8265" -- python3 -m openrlhf.cli.train_ppo_ray \
   "${CKPT_ARGS[@]}" --pretrain Qwen/Qwen2.5-3B \
   --prompt_data /data/prompts.jsonl --input_key question --label_key answer \
   --advantage_estimator group_norm \
   --n_samples_per_prompt 8 --rollout_batch_size 64 --train_batch_size 128 \
   --generate_max_len 3000 --prompt_max_len 1024 \
   --actor_learning_rate 5e-7 --lr_warmup_ratio 0.03 \
   --init_kl_coef 1e-3 --use_kl_loss --kl_estimator k3 \
   --eps_clip_low_high 0.2 0.27 \
   --actor.dual_clip 3 \
   --remote_rm_url /rewards/reward_func.py \
   --critic.adam.lr 9e-6 --num_episodes 2 \
   --zero_stage 3 --use_wandb my-secret-key && echo --not-ours 1
